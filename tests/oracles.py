"""Independent answers: plain loops over the definition, and synthetic systems whose temperature is known exactly."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

Frames = Mapping[str, np.ndarray]


def displacements(
    steps: np.ndarray, stride: int, start: int, stop: int, lag: int, barriers: Iterable[int] = ()
) -> list[tuple[int, int]]:
    """Frame pairs of the velocities with start < step <= stop: walk the frames, restart at every gap and barrier.

    `barriers` are frames that no velocity may lead into.
    """
    pairs, anchor = [], None
    for frame in range(len(steps)):
        if not start <= steps[frame] <= stop:
            continue
        if anchor is None or frame in barriers or steps[frame] - steps[frame - 1] != stride:
            anchor = frame
        elif steps[frame] - steps[anchor] == lag:
            pairs.append((anchor, frame))
            anchor = frame
    return pairs


def tiles(start: int, stop: int, window: int | None) -> list[tuple[int, int]]:
    """Windows (start, stop] of a range; the last may be shorter."""
    if window is None:
        return [(start, stop)]
    return [(begin, min(begin + window, stop)) for begin in range(start, stop, window)]


def moments(frames: np.ndarray, pairs: Sequence[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    """⟨v²⟩ and ⟨v⟩ of every weight in extended precision, straight from the definition."""
    wide = frames.astype(np.longdouble)
    velocities = np.stack([wide[..., after] - wide[..., before] for before, after in pairs], axis=-1)
    return (velocities**2).mean(axis=-1), velocities.mean(axis=-1)


def temperature(parts: Sequence[np.ndarray], pairs: Sequence[tuple[int, int]]) -> dict[str, float]:
    """T = K/(k_B d), its drift and its thermal part, of a group made of `parts` (..., frames)."""
    if not pairs:
        return {"temperature": np.nan, "temperature_drift": np.nan, "temperature_thermal": np.nan}
    weights = sum(int(np.prod(part.shape[:-1])) for part in parts)
    both = [moments(part, pairs) for part in parts]
    total = 0.5 * sum(squares.sum() for squares, _ in both) / weights
    drift = 0.5 * sum((mean**2).sum() for _, mean in both) / weights
    return {
        "temperature": float(total),
        "temperature_drift": float(drift),
        "temperature_thermal": float(total - drift),
    }


def constant_velocity(weights: int, frames: int, speed: float) -> np.ndarray:
    """w(t) = w(0) + c t with c a power of two, so that every sum is exact.

    v = c at every step, so T = ½c²; the mean of v is c too, so T_drift = ½c² and nothing is thermal.
    """
    return np.arange(weights)[:, None] + speed * np.arange(frames)[None, :]


def random_walk(rng: np.random.Generator, weights: int, frames: int, sigma: float) -> np.ndarray:
    """Independent Gaussian steps of variance σ².

    ⟨v²⟩ = σ², so T = ½σ². Over a lag of L steps the displacement is a sum of L independent steps: MSD = Lσ² and, in
    units of the lag, T = ½Lσ². The estimate over n velocities of a weight has variance 2(½σ²)²/n, v² being σ² times
    χ² of one degree.
    """
    return np.cumsum(sigma * rng.standard_normal((weights, frames)), axis=1)


def sgd_on_quadratic(
    rng: np.random.Generator, weights: int, frames: int, step: float, stiffness: float, noise: float
) -> np.ndarray:
    """SGD on ½hw² with gradient noise of variance C: w ← w − η(hw + √C ξ), started in its stationary state.

    With a = 1 − ηh: Var w = a² Var w + η²C, so ⟨w²⟩ = η²C/(1 − a²) = ηC/(h(2 − ηh)).
    v = −ηhw − η√C ξ, so ⟨v²⟩ = η²h²⟨w²⟩ + η²C = η²C (ηh/(2 − ηh) + 1) = 2η²C/(2 − ηh), and T = η²C/(2 − ηh).
    """
    spread = np.sqrt(step * noise / (stiffness * (2 - step * stiffness)))
    trajectory = np.empty((weights, frames))
    trajectory[:, 0] = spread * rng.standard_normal(weights)
    for frame in range(1, frames):
        gradient = stiffness * trajectory[:, frame - 1] + np.sqrt(noise) * rng.standard_normal(weights)
        trajectory[:, frame] = trajectory[:, frame - 1] - step * gradient
    return trajectory


def sgd_temperature(step: float, stiffness: float, noise: float) -> float:
    """T = η²C/(2 − ηh), see `sgd_on_quadratic`."""
    return step**2 * noise / (2 - step * stiffness)


def heavy_ball(
    rng: np.random.Generator,
    weights: int,
    frames: int,
    step: float,
    momentum: float,
    stiffness: float,
    noise: float,
    burn_in: int | None = None,
) -> np.ndarray:
    """SGD with momentum μ, as torch has it, on ½hw²: u ← μu + hw + √C ξ, w ← w − ηu; from rest, `burn_in` updates ago.

    With v = −ηu: v' = μv − η(hw + √C ξ), w' = w + v'. In the stationary state, with q = ⟨v²⟩:

    - ⟨w'²⟩ = ⟨w²⟩ gives 2⟨wv'⟩ + q = 0, so ⟨w'v'⟩ = ⟨wv'⟩ + q = q/2: that is ⟨wv⟩ after every update.
    - ⟨wv'⟩ = μ⟨wv⟩ − ηh⟨w²⟩ gives −q/2 = μq/2 − ηh⟨w²⟩, so ηh⟨w²⟩ = q(1 + μ)/2.
    - ⟨v'²⟩ = μ²q − 2μηh⟨wv⟩ + η²h²⟨w²⟩ + η²C = μ²q − μηhq + ηhq(1 + μ)/2 + η²C, so
      q(1 − μ² + μηh − ηh(1 + μ)/2) = q(1 − μ)(2(1 + μ) − ηh)/2 = η²C.

    So ⟨v²⟩ = 2η²C/((1 − μ)(2(1 + μ) − ηh)) and T is half of it; μ = 0 is `sgd_on_quadratic`.
    """
    wait = int(20 / min(1 - momentum, step * stiffness)) if burn_in is None else burn_in
    position, velocity = np.zeros(weights), np.zeros(weights)
    trajectory = np.empty((weights, frames))
    for update in range(wait + frames):
        gradient = stiffness * position + np.sqrt(noise) * rng.standard_normal(weights)
        velocity = momentum * velocity - step * gradient
        position = position + velocity
        if update >= wait:
            trajectory[:, update - wait] = position
    return trajectory


def heavy_ball_temperature(step: float, momentum: float, stiffness: float, noise: float) -> float:
    """T = η²C/((1 − μ)(2(1 + μ) − ηh)), see `heavy_ball`."""
    return step**2 * noise / ((1 - momentum) * (2 * (1 + momentum) - step * stiffness))


def scheduled_sgd(
    rng: np.random.Generator, weights: int, rates: np.ndarray, stiffness: float, noise: float
) -> np.ndarray:
    """SGD on ½hw² with the learning rate `rates[t]` in update t + 1; starts in the stationary state of the first rate.

    (weights, updates + 1). What 𝒯 it should have is `scheduled_temperature`.
    """
    spread = np.sqrt(rates[0] * noise / (stiffness * (2 - rates[0] * stiffness)))
    trajectory = np.empty((weights, rates.size + 1))
    trajectory[:, 0] = spread * rng.standard_normal(weights)
    for t, rate in enumerate(rates):
        gradient = stiffness * trajectory[:, t] + np.sqrt(noise) * rng.standard_normal(weights)
        trajectory[:, t + 1] = trajectory[:, t] - rate * gradient
    return trajectory


def scheduled_temperature(rates: np.ndarray, stiffness: float, noise: float) -> np.ndarray:
    """⟨𝒯(t)⟩ of every update (updates,) of `scheduled_sgd`.

    v = −η(hw + √C ξ), so ⟨𝒯⟩ = ½η²(h²s + C), with s = ⟨w²⟩ before the update; and s' = (1 − ηh)²s + η²C. Where η
    changes slowly against 1/(ηh) steps, s follows its stationary value and ⟨𝒯⟩/η² = C/(2 − ηh); where η falls fast, s
    is still that of a larger η, and ⟨𝒯⟩/η² is above it by ½h²(s − s_stationary).
    """
    spread = rates[0] * noise / (stiffness * (2 - rates[0] * stiffness))
    expected = np.empty(rates.size)
    for t, rate in enumerate(rates):
        expected[t] = 0.5 * rate**2 * (stiffness**2 * spread + noise)
        spread = (1 - rate * stiffness) ** 2 * spread + rate**2 * noise
    return expected


def ar1_velocities(rng: np.random.Generator, weights: int, frames: int, rho: float, sigma: float) -> np.ndarray:
    """Positions whose velocities follow v ← ρv + σ√(1 − ρ²) ξ, stationary: ⟨v²⟩ = σ², VACF(τ) = ρ^τ, T = ½σ².

    Over a lag of L: MSD(L) = σ² Σ_ij ρ^|i−j| = σ² (L + 2 Σ_k (L − k) ρ^k), k = 1 … L − 1.
    """
    velocities = np.empty((weights, frames))
    velocities[:, 0] = sigma * rng.standard_normal(weights)
    for frame in range(1, frames):
        kick = sigma * np.sqrt(1 - rho**2) * rng.standard_normal(weights)
        velocities[:, frame] = rho * velocities[:, frame - 1] + kick
    return np.cumsum(velocities, axis=1)


def ar1_msd(lag: int, rho: float, sigma: float) -> float:
    """Mean squared displacement over a lag, see `ar1_velocities`."""
    return sigma**2 * (lag + 2 * sum((lag - k) * rho**k for k in range(1, lag)))


def adam(
    rng: np.random.Generator,
    weights: int,
    frames: int,
    step: float,
    gradient: Callable[[np.random.Generator, int], np.ndarray],
    beta1: float = 0.9,
    beta2: float = 0.999,
    burn_in: int = 3000,
) -> np.ndarray:
    """Adam without a landscape: the gradient does not depend on w. Starts after `burn_in` updates."""
    first, second = np.zeros(weights), np.zeros(weights)
    position = np.zeros(weights)
    trajectory = np.empty((weights, frames))
    for update in range(1, burn_in + frames + 1):
        g = gradient(rng, weights)
        first = beta1 * first + (1 - beta1) * g
        second = beta2 * second + (1 - beta2) * g * g
        mean, square = first / (1 - beta1**update), second / (1 - beta2**update)
        position = position - step * mean / (np.sqrt(square) + 1e-12)
        if update > burn_in:
            trajectory[:, update - burn_in - 1] = position
    return trajectory


def adam_temperature(step: float, signal: float, beta1: float = 0.9) -> float:
    """T/η² ≈ ½ (s² + (1−β1)/(1+β1)) / (1 + s²) for gradients with s² = ḡ²/C.

    v = −η m/√u. u averages g² over 1/(1−β2) = 1000 steps and is nearly its mean C(1 + s²). m averages g over
    1/(1−β1) steps: its mean is ḡ = s√C, its variance C(1−β1)²/(1−β1²) = C(1−β1)/(1+β1). So ⟨v²⟩ = η²(s² +
    (1−β1)/(1+β1))/(1 + s²), up to the scatter of u (about 0.1 % for Gaussian gradients).
    """
    return 0.5 * step**2 * (signal**2 + (1 - beta1) / (1 + beta1)) / (1 + signal**2)
