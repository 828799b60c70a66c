"""A small transformer from a configuration, trained by transformers' `Trainer`: deterministic on the CPU."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import torch
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainerCallback, TrainingArguments, set_seed
from transformers.utils import logging

from tests.integrations.frames import Truth

logging.set_verbosity_error()

SAMPLES = 40


def make_model() -> GPT2LMHeadModel:
    set_seed(0)
    small = {"vocab_size": 32, "n_positions": 16, "n_embd": 16, "n_layer": 2, "n_head": 2}
    return GPT2LMHeadModel(GPT2Config(**small, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0))


def make_samples() -> list[dict[str, torch.Tensor]]:
    tokens = torch.randint(0, 32, (SAMPLES, 12), generator=torch.Generator().manual_seed(1))
    return [{"input_ids": row, "labels": row} for row in tokens]


class Witness(TrainerCallback):
    """Clones the weights after each step of the torch optimizer, and saves them at the end or before an exception.

    Parameters
    ----------
    path : Path
    raise_at : int
        The trainer's step after which the training raises.
    kill_at : (int, str)
        The trainer's step and the event at which it kills its process.
    """

    def __init__(self, path: Path | None = None, raise_at: int = -1, kill_at: tuple[int, str] = (-1, "")) -> None:
        self.path, self.raise_at, self.kill_at = path, raise_at, kill_at
        self.losses: list[float] = []

    def _may_die(self, state: Any, place: str) -> None:
        if self.kill_at == (state.global_step, place):
            os.kill(os.getpid(), signal.SIGKILL)

    def on_train_begin(self, args, state, control, model=None, optimizer=None, **kwargs):
        self.truth = Truth(model, optimizer.optimizer)

    def on_pre_optimizer_step(self, args, state, control, **kwargs):
        self._may_die(state, "on_pre_optimizer_step")

    def on_optimizer_step(self, args, state, control, **kwargs):
        self._may_die(state, "on_optimizer_step")

    def on_step_end(self, args, state, control, **kwargs):
        self._may_die(state, "on_step_end")
        if self.raise_at == state.global_step:
            self.on_train_end(args, state, control)
            raise RuntimeError("of the user")

    def on_save(self, args, state, control, **kwargs):
        self._may_die(state, "on_save")

    def on_log(self, args, state, control, logs=None, **kwargs):
        if "loss" in logs:
            self.losses.append(logs["loss"])

    def on_train_end(self, args, state, control, **kwargs):
        if self.path is not None and state.is_world_process_zero:
            self.truth.save(self.path)


def train(callbacks: list[Any], steps: int, output: Path, *, resume: Path | None = None, **options: Any) -> Trainer:
    """Train by transformers; returns the trainer."""
    arguments = TrainingArguments(
        output_dir=str(output), max_steps=steps, report_to=[], use_cpu=True, disable_tqdm=True, learning_rate=1e-3,
        **{"per_device_train_batch_size": 4, "logging_steps": 1, "save_strategy": "no"} | options,
    )  # fmt: skip
    trainer = Trainer(make_model(), arguments, train_dataset=make_samples(), callbacks=callbacks)
    trainer.train(resume_from_checkpoint=None if resume is None else str(resume))
    return trainer
