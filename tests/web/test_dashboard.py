"""The dashboard as a process of its own, asked by a real browser and by whoever should not ask."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
from serving import BROWSER_FLAGS, CHROMIUM, PATIENCE, served

from lyapopt.errors import UserError
from lyapopt.study.file import load_study_file
from lyapopt.study.run.runner import run_study
from lyapopt.web import bind, checked_token, new_token

pytest.importorskip("optuna_dashboard", reason="the extra `dashboard` is not installed")

STUDY = """
study_name: shown
storage: sqlite:///study.db
task: {name: xor, hidden: 4, steps: 30}
search_space:
  activation: [relu, sigmoid]
  lr: {type: float, low: 0.01, high: 0.5, log: true}
probe: {horizon: 8, neighbours: 2}
sampler: random
n_trials: 4
"""


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shown")
    (folder / "study.yaml").write_text(STUDY)
    with contextlib.chdir(folder):
        run_study(load_study_file("study.yaml"))
    return folder / "study.db"


@pytest.fixture(scope="module")
def port(database: Path) -> Iterator[int]:
    with served(str(database)) as (_, port):
        yield port


def ask(port: int, method: str, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    body = b"{}" if method in ("POST", "PUT") else None
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, body, {"Content-Type": "application/json", **named})
    response = connection.getresponse()
    try:
        return response.status, dict(response.getheaders()), response.read()
    finally:
        connection.close()


def test_the_api_lists_the_study_and_its_trials(port: int) -> None:
    status, headers, body = ask(port, "GET", "/api/studies")
    assert status == 200
    assert [study["study_name"] for study in json.loads(body)["study_summaries"]] == ["shown"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert not any(name.lower().startswith("access-control-") for name in headers)


def test_another_host_name_is_refused(port: int) -> None:
    assert ask(port, "GET", "/api/studies", Host="evil.example")[0] == 421
    assert ask(port, "GET", "/api/studies", Host=f"evil.example:{port}")[0] == 421
    assert ask(port, "GET", "/api/studies", Host=f"localhost:{port}")[0] == 200


def test_a_page_of_another_site_cannot_write(port: int) -> None:
    study = "/api/studies/1"
    assert ask(port, "DELETE", study, Origin="https://evil.example")[0] == 403
    assert ask(port, "DELETE", study, Origin="null")[0] == 403
    assert ask(port, "DELETE", study, Origin=f"http://127.0.0.1:{port + 1}")[0] == 403
    assert ask(port, "DELETE", study, Sec_Fetch_Site="cross-site")[0] == 403
    assert ask(port, "GET", study)[0] == 200
    note = json.dumps({"body": "seen", "version": 1})
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    own = {"Content-Type": "application/json", "Origin": f"http://127.0.0.1:{port}"}
    connection.request("PUT", f"{study}/note", note, own)
    assert connection.getresponse().status == 204
    connection.close()


def test_read_only_refuses_writes_and_ctrl_c_ends_it_well(database: Path) -> None:
    with served(str(database), "--read-only") as (process, port):
        status, _, body = ask(port, "DELETE", "/api/studies/1")
        assert status == 403
        assert b"read-only" in body
        assert ask(port, "GET", "/api/studies/1")[0] == 200
        process.send_signal(signal.SIGINT)
        _, shown = process.communicate(timeout=120)
        assert process.returncode == 0, shown
        assert "Traceback" not in shown
    storage = f"sqlite:///{database}"
    assert optuna.get_all_study_names(storage) == ["shown"]


def test_what_is_written_comes_as_json_and_artifacts_run_in_no_one_s_name(port: int) -> None:
    study = "/api/studies/1/note"
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; x"):
        assert ask(port, "PUT", study, Content_Type=kind)[0] == 415
    headers = ask(port, "GET", "/artifacts/1/1/00000000-0000-0000-0000-000000000000")[1]
    assert headers["Content-Security-Policy"].startswith("sandbox")
    assert headers["X-Content-Type-Options"] == "nosniff"
    status, headers, page = ask(port, "GET", "/lyapopt/")
    assert status == 200
    assert "script-src 'self';" in headers["Content-Security-Policy"]
    assert not re.search(rb"<script(?![^>]*src=)|\son\w+=|javascript:", page)
    assert ask(port, "GET", "/lyapopt")[1]["Location"] == "/lyapopt/"
    assert ask(port, "GET", "/lyapopt/static/..%2f..%2fapp.py")[0] == 404
    assert ask(port, "POST", "/lyapopt/api/start")[0] == 405


def test_a_network_is_served_only_with_a_token_that_each_request_knows(database: Path) -> None:
    token = "a-token-of-24-characters"
    with served(str(database), "--host", "0.0.0.0", "--token", token) as (_, port):
        assert ask(port, "GET", "/api/studies")[0] == 401
        assert ask(port, "GET", "/lyapopt/")[0] == 401
        assert ask(port, "GET", "/lyapopt/?token=another-of-24-characters")[0] == 401
        status, headers, _ = ask(port, "GET", f"/lyapopt/?study=shown&token={token}")
        assert (status, headers["Location"]) == (303, "/lyapopt/?study=shown")
        cookie = headers["Set-Cookie"].partition(";")[0]
        assert "HttpOnly" in headers["Set-Cookie"]
        assert ask(port, "GET", "/lyapopt/", Cookie=cookie)[0] == 200
        assert ask(port, "GET", "/api/studies", Authorization=f"Bearer {token}")[0] == 200
        assert ask(port, "GET", "/api/studies", Cookie="lyapopt_token=no")[0] == 401
        assert (
            ask(port, "GET", "/api/studies", Cookie=cookie, Host=f"evil.example:{port}")[0] == 421
        )
        assert ask(port, "GET", f"//evil.example?token={token}")[1]["Location"] == "/evil.example"
    assert checked_token(new_token())
    for short in ("abc", "with a space and long", "semi;colon;semi;colon"):
        with pytest.raises(UserError, match="at least 16"):
            checked_token(short)


def test_a_port_that_is_taken_is_passed_over_or_named() -> None:
    first = bind("127.0.0.1")
    with first.socket:
        second = bind("127.0.0.1")
        with second.socket:
            assert second.port > first.port
        with pytest.raises(UserError, match=f"port {first.port} is taken"):
            bind("127.0.0.1", first.port)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.1", "example.org"])
def test_addresses_that_others_reach_are_refused(host: str) -> None:
    with pytest.raises(UserError, match="has no login"):
        bind(host)


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_a_browser_shows_exponents_and_verdicts(port: int, database: Path, tmp_path: Path) -> None:
    from playwright.sync_api import expect, sync_playwright

    trial = optuna.load_study(study_name="shown", storage=f"sqlite:///{database}").trials[0]
    address = f"http://127.0.0.1:{port}/"
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch_persistent_context(
            str(tmp_path / "profile"), executable_path=CHROMIUM, args=BROWSER_FLAGS
        )
        page = browser.new_page()
        broken: list[str] = []
        page.on("pageerror", lambda error: broken.append(str(error)))
        # What a failure is explained by.
        page.on("console", lambda message: print(message.type, message.text))
        page.on("requestfailed", lambda request: print(request.url, request.failure))
        page.set_default_timeout(PATIENCE)
        page.goto(address)
        page.get_by_role("link", name="shown").first.click()
        page.wait_for_url(re.compile("/dashboard/studies/1"))
        expect(page.get_by_text("Hyperparameter Importance")).to_be_visible()
        page.goto(f"{address}dashboard/studies/1/smartSelection")
        for name in ("exponent", "verdict"):
            header = page.get_by_role("columnheader", name=re.compile(name)).first
            expect(header).to_be_attached()
        page.goto(f"{address}dashboard/studies/1/trials?numbers=0")
        shown = f"exponent {trial.user_attrs['exponent']}"
        expect(page.get_by_text(shown)).to_be_visible()
        expect(page.get_by_text(f"verdict {trial.user_attrs['verdict']}")).to_be_visible()
        if folder := os.environ.get("LYAPOPT_SCREENSHOTS"):
            page.screenshot(path=f"{folder}/trial.png", full_page=True)
        browser.close()
    assert broken == []
