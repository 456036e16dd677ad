"""The dashboard, served from our process."""

from lyapopt.web.app import dashboard_app, require_dashboard
from lyapopt.web.server import Server, bind

__all__ = ["Server", "bind", "dashboard_app", "require_dashboard"]
