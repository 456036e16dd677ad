"""The study file: schema, validation, running trials together."""
