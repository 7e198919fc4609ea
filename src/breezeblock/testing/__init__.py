"""What tests and driver authors build on. Nothing in production imports it."""

__all__: list[str] = []
