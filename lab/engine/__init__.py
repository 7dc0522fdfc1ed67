"""How the lab uses a CPU: the recurrence, its compiled steps, the optimizer, the process."""
