"""What pyproject.toml cannot say: the folders studies/ and dashboards/ are part of the package."""

from setuptools import find_packages, setup

SHIPPED = ("studies", "dashboards")  # their files are named in MANIFEST.in

setup(
    packages=[*find_packages(include=["lyapopt*"]), *(f"lyapopt.{name}" for name in SHIPPED)],
    package_dir={f"lyapopt.{name}": name for name in SHIPPED},
)
