"""What the sweep engine costs: CPU of the driver, idle workers, start-up, Tune's state, MLflow."""
