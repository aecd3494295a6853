"""The study: settings, schedule, tracking, results, report (DESIGN: the only package that knows Ray and MLflow)."""
