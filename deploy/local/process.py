"""Server processes that never outlive us unnoticed and whose failures can be read."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from deploy.local.problem import RuntimeProblem

_TAIL_LINES = 15
_POLL_S = 0.02
_GONE_S = 10


class Child:
    """One server process, in a session of its own so that Ctrl-C in the terminal reaches us and not it.

    Where the kernel offers it (Linux), the process also gets `stop_signal` when we die without a word. The
    kernel ties that to the *thread* that started it, so start children from a thread that stays.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        log: Path,
        *,
        stop_signal: signal.Signals,
        unprivileged: bool = False,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.log = log
        self._stop_signal = stop_signal
        full = [*_wrapper(stop_signal, unprivileged), *map(str, command)]
        with log.open("ab") as out:
            self._process = subprocess.Popen(
                full,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd=log.parent,
                env={**os.environ, **(env or {})},
            )

    @property
    def pid(self) -> int:
        """The process id of the server itself."""
        return self._process.pid

    def require_alive(self) -> None:
        """Raise a `RuntimeProblem` with the last lines of its log, if the process has ended."""
        code = self._process.poll()
        if code is not None:
            raise RuntimeProblem(f"{self.name} stopped by itself ({_ending(code)}). {describe_log(self.log)}")

    def wait_until(self, ready: Callable[[], bool], timeout_s: float) -> None:
        """Return once `ready()` holds; a `RuntimeProblem` if the process ends or `timeout_s` passes first."""
        deadline = time.monotonic() + timeout_s
        while not ready():
            self.require_alive()
            if time.monotonic() > deadline:
                raise RuntimeProblem(f"{self.name} was not ready after {timeout_s:.0f} s. {describe_log(self.log)}")
            time.sleep(_POLL_S)

    def wait_success(self, timeout_s: float) -> None:
        """Return once the process has ended well; a `RuntimeProblem` if it fails or takes longer than `timeout_s`."""
        try:
            code = self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise RuntimeProblem(f"{self.name} took over {timeout_s:.0f} s. {describe_log(self.log)}") from None
        if code != 0:
            raise RuntimeProblem(f"{self.name} failed ({_ending(code)}). {describe_log(self.log)}")

    @property
    def running(self) -> bool:
        """Whether the process has not ended yet."""
        return self._process.poll() is None

    def ask_to_stop(self) -> None:
        """Ask for an orderly stop, without waiting; nothing happens if it has ended."""
        if self._process.poll() is None:
            self._process.send_signal(self._stop_signal)

    def wait_stopped(self, grace_s: float) -> None:
        """The process is gone afterwards: by itself within `grace_s`, or killed."""
        try:
            self._process.wait(grace_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def kill(self) -> None:
        """The process, and every process that it started, is gone afterwards without a chance to tidy up."""
        import psutil

        if self.running:
            # Held still first, so that it can't start another one between our looking and its end.
            self._process.send_signal(signal.SIGSTOP)
            family = psutil.Process(self.pid).children(recursive=True)
            self._process.kill()
            for process in family:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            psutil.wait_procs(family, timeout=_GONE_S)
        self._process.wait()


def _wrapper(stop_signal: signal.Signals, unprivileged: bool) -> list[str]:
    setpriv = shutil.which("setpriv") if sys.platform == "linux" else None
    as_root = unprivileged and os.geteuid() == 0
    if setpriv is None:
        if as_root:
            raise RuntimeProblem(
                "PostgreSQL does not run as root, and the tool that lets it run as another user is missing. "
                "Install util-linux (it has setpriv), or run this as an ordinary user."
            )
        return []
    command = [setpriv, "--pdeathsig", stop_signal.name.removeprefix("SIG")]
    if as_root:
        # The user that every system has. It keeps one right of root's, to enter directories that only root may
        # enter: a clone under /root works, and nothing on the machine has to be changed for it.
        command += ["--reuid=65534", "--regid=65534", "--clear-groups"]
        command += ["--inh-caps=+dac_override", "--ambient-caps=+dac_override"]
    return [*command, "--"]


def describe_log(log: Path) -> str:
    """The last lines of a log and where the rest is."""
    lines = log.read_text(errors="replace").splitlines()[-_TAIL_LINES:] if log.exists() else []
    if not lines:
        return f"Its log is empty: {log}"
    return "\n".join([f"The last lines of its log, {log}:", *(f"    {line}" for line in lines)])


def _ending(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
