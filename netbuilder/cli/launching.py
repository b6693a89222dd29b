"""Processes of a training on this machine, started and watched by PyTorch's launcher (torchrun)."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from netbuilder import errors
from netbuilder.errors import EngineError, NetBuilderError
from netbuilder.storage import temporary

if TYPE_CHECKING:
    from torch.distributed.elastic.multiprocessing import ProcessFailure

__all__ = ["launch", "record_error"]

_ENDS = (1, 130)  # exit codes that are no failure of the program: diverged, stopped


def launch(processes: int, restarts: int, options: Mapping[str, Any]) -> int:
    """Train in so many processes and return the exit code of the command; `options` go to each of them.

    A process that fails ends the others; all of them are started again as often as `restarts` allows.
    Raises the error of the process that failed first.
    """
    import uuid

    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    _quiet()
    os.environ.setdefault("OMP_NUM_THREADS", str(options["threads"]))
    # Else a restarted rank may find in the launcher's store the address of one that was killed.
    os.environ.setdefault("TORCH_DISABLE_SHARE_RDZV_TCP_STORE", "1")
    if sys.platform == "linux":
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    with temporary.scratch() as logs:
        config = LaunchConfig(
            min_nodes=1, max_nodes=1, nproc_per_node=processes, run_id=uuid.uuid4().hex,
            rdzv_backend="c10d", rdzv_endpoint="localhost:0", local_addr="localhost",
            max_restarts=restarts, logs_specs=DefaultLogsSpecs(log_dir=logs),
        )  # fmt: skip
        try:
            elastic_launch(config, sys.executable)("-m", "netbuilder.cli.ranks", json.dumps(dict(options)))
        except SignalException:
            return 130
        except ChildFailedError as error:
            rank, failure = error.get_first_failure()
            if failure.exitcode in _ENDS:
                return int(failure.exitcode)
            raise _error(rank, failure) from None
    return 0


def record_error(error: BaseException) -> None:
    """Write an error where the launcher of this process looks for it, if it was started by one."""
    if os.environ.get("TORCHELASTIC_ERROR_FILE"):
        from torch.distributed.elastic.multiprocessing.errors import get_error_handler

        get_error_handler().record_exception(error)


def _error(rank: int, failure: ProcessFailure) -> NetBuilderError:
    """The error of a process that failed, as it wrote it down, or how it ended."""
    data = failure.error_file_data
    said = data.get("message") if isinstance(data, dict) else None
    if isinstance(said, dict) and said.get("message"):
        kind, _, text = str(said["message"]).partition(": ")
        made = getattr(errors, kind, None)
        if isinstance(made, type) and issubclass(made, NetBuilderError):
            return made(text)  # which has its place and its hint already
        return EngineError(f"rank {rank}: {kind}: {text}", hint="its traceback is above")
    if failure.exitcode < 0:
        return EngineError(
            f"rank {rank} was killed by {failure.signal_name()}",
            hint="for its memory perhaps: dmesg says so; --max-restarts 3 goes on from the last snapshot",
        )
    return EngineError(f"rank {rank} ended with exit code {failure.exitcode}")


class _Told(logging.Filter):
    """Says in one line what the launcher logs about a process that failed."""

    def filter(self, record: logging.LogRecord) -> bool:
        if str(record.msg).startswith("failed (exitcode") and record.args:
            code, rank = tuple(record.args)[:2]
            print(f"rank {rank} ended with exit code {code}; all ranks end", file=sys.stderr)
        return False


def _quiet() -> None:
    """Keep the launcher's log off the terminal, except for what the user has to know."""
    for name in list(logging.root.manager.loggerDict):
        if name.startswith(("torch.distributed.elastic", "torch.distributed.launcher")):
            logging.getLogger(name).addFilter(_Told())
