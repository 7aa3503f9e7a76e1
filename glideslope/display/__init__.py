"""What people see: console, progress, plots and films."""
