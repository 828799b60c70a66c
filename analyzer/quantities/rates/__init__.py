"""What learning rates explain: stretches of constant settings, T/η², and its expected value."""
