"""The analytic estimator against real synthesis reports."""
