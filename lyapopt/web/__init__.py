"""The dashboard, served from our process; dashboard files, pages and the report."""

from lyapopt.web.app import dashboard_app, require_dashboard
from lyapopt.web.server import Server, bind, checked_token, new_token

__all__ = ["Server", "bind", "checked_token", "dashboard_app", "new_token", "require_dashboard"]
