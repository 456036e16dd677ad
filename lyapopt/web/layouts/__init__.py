"""Dashboards as files: a page of figures that a user can write."""

from lyapopt.web.layouts.load import DEFAULT, find_layout, load_layout, shipped_layouts
from lyapopt.web.layouts.model import Filter, Layout, Panel

__all__ = [
    "DEFAULT",
    "Filter",
    "Layout",
    "Panel",
    "find_layout",
    "load_layout",
    "shipped_layouts",
]
