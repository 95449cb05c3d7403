"""Fan-out: one event to many readers, ours beside its peers in the same minutes. `python -m tests.bench.streams`

The server has the first core, the client the last. Rounds are interleaved, rows are medians. Ours commits every event
to disk and reads it back; the peers keep nothing. A row counts only if its twin holds: lost, twice and disordered are
0. nginx with nchan joins in where it is installed.
"""

import argparse
import contextlib
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.waiting import until_blocking

HERE = Path(__file__).parent
FIRST, LAST = "0", str((os.cpu_count() or 1) - 1)
TICKS = os.sysconf("SC_CLK_TCK")
AT_ONCE, STEADILY = "as fast as it goes", "20,000 deliveries a second"


@dataclass
class Round:
    said: dict[str, Any]
    server_cpu: float
    kb_per_reader: float
    connect_s: float
    others: float


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--readers", type=int, default=1000)
    parser.add_argument("--deliveries", type=int, default=150_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="")
    given = parser.parse_args()
    variants = [v for v in given.only.split(",") if v] or [
        "darkroom",
        *(["sse-starlette"] if _has("sse_starlette") else []),
        *(["nchan"] if _nchan() else []),
    ]
    with tempfile.TemporaryDirectory() as folder:
        client = Path(folder) / "sse_load"
        subprocess.run(["gcc", "-O2", "-o", client, HERE / "sse_load.c"], check=True)
        return _compare(variants, given, Path(folder), client)


def _compare(variants: list[str], given: argparse.Namespace, folder: Path, client: Path) -> int:
    broken, rates, tails, sizes = 0, {}, {}, {}
    for mode, rate in ((AT_ONCE, 0.0), (STEADILY, 20_000 / given.readers)):
        events = max(10, given.deliveries // given.readers) if not rate else max(10, int(rate * 4))
        rounds: dict[str, list[Round]] = {v: [] for v in variants}
        for _ in range(given.rounds if not rate else 1):
            for variant in variants:
                rounds[variant].append(measured(variant, folder, client, given.readers, events, rate))
        for variant, each in rounds.items():
            row = _row(variant, mode, each)
            print(json.dumps(row), flush=True)
            if variant == "darkroom":  # what a peer loses stands in its row
                broken += row["lost"] + row["twice"] + row["disordered"]
            if rate:
                tails[variant] = row["p99_ms"]
            else:
                rates[variant], sizes[variant] = row["events_s"], row["kb_per_reader"]
    for peer in variants:
        if peer != "darkroom" and "darkroom" in rates:
            print(
                f"darkroom / {peer} at {given.readers} readers: events/s {rates['darkroom'] / rates[peer]:.2f}x, "
                f"p99 {tails['darkroom'] / tails[peer]:.2f}x, memory {sizes['darkroom'] / sizes[peer]:.2f}x"
            )
    return 1 if broken else 0


def _row(variant: str, mode: str, rounds: list[Round]) -> dict[str, Any]:
    def median(values: Iterator[float]) -> float:
        return round(statistics.median(values), 2)

    delivered = [r.said["delivered"] for r in rounds]
    return {
        "variant": variant,
        "mode": mode,
        "readers": rounds[0].said["readers"],
        "events_s": median(r.said["delivered"] / r.said["seconds"] for r in rounds),
        "p50_ms": median(r.said["p50_ms"] for r in rounds),
        "p99_ms": median(r.said["p99_ms"] for r in rounds),
        "server_us_per_event": median(1e6 * r.server_cpu / n for r, n in zip(rounds, delivered, strict=True) if n),
        "kb_per_reader": median(r.kb_per_reader for r in rounds),
        "connects_s": median(r.said["readers"] / r.connect_s for r in rounds),
        "others_cores": median(r.others for r in rounds),
        **{name: sum(r.said[name] for r in rounds) for name in ("lost", "twice", "disordered")},
    }


def measured(  # one round has as many sides
    variant: str,
    folder: Path,
    client: Path,
    readers: int,
    events: int,
    rate: float,
    beside: Callable[[int], AbstractContextManager[None]] | None = None,
) -> Round:
    """`beside`: somebody else at the same port meanwhile."""
    with server(variant, folder) as (pid, port), beside(port) if beside else contextlib.nullcontext():
        idle = _memory(pid)
        command = ["taskset", "-c", LAST, str(client), str(port), str(readers), str(events), str(rate)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as running:
            assert running.stdin
            assert running.stdout
            ready = running.stdout.readline().split()
            assert ready, "the client gave up"
            size = (_memory(pid) - idle) / readers
            before, busy, began = _cpu(pid), _busy(), time.monotonic()
            client_before = _cpu(running.pid)
            running.stdin.write("go\n")
            running.stdin.flush()
            line = running.stdout.readline()
            spent, client_spent = _cpu(pid) - before, _cpu(running.pid) - client_before
            others = (_busy() - busy - spent - client_spent) / (time.monotonic() - began)
        return Round(json.loads(line), spent, size, float(ready[1]), max(0.0, others))


@contextlib.contextmanager
def server(variant: str, folder: Path) -> Iterator[tuple[int, int]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    place = Path(tempfile.mkdtemp(dir=folder))
    command = _nginx(place, port) if variant == "nchan" else [sys.executable, "-m", "tests.bench.streams_peers"]
    command += [] if variant == "nchan" else [variant, str(port), str(place)]
    pinned = ["taskset", "-c", FIRST, *command]
    process = subprocess.Popen(pinned, start_new_session=True, cwd=HERE.parent.parent)
    try:
        until_blocking(lambda: _listening(port), within=20)
        yield process.pid, port
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _listening(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def _nginx(place: Path, port: int) -> list[str]:
    module = _nchan()
    (place / "nginx.conf").write_text(f"""
load_module {module}; daemon off; master_process off;
worker_rlimit_nofile 20000; pid {place}/pid; error_log stderr crit;
events {{ worker_connections 19000; }}
http {{
  access_log off; client_body_temp_path {place}; nchan_message_buffer_length 4096;
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location = /events {{ nchan_subscriber eventsource; nchan_channel_id all; nchan_subscriber_first_message newest; }}
    location = /publish {{ nchan_publisher; nchan_channel_id all; }}
  }}
}}
""")
    return [shutil.which("nginx") or "nginx", "-c", str(place / "nginx.conf"), "-p", str(place)]


def _nchan() -> Path | None:
    module = Path("/usr/lib/nginx/modules/ngx_nchan_module.so")
    return module if module.exists() and shutil.which("nginx") else None


def _has(module: str) -> bool:
    return subprocess.run([sys.executable, "-c", f"import {module}"], capture_output=True, check=False).returncode == 0


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def _busy() -> float:
    user, nice, system, _idle, _wait, irq, soft, *_ = map(
        int, Path("/proc/stat").read_text().split("\n")[0].split()[1:]
    )
    return (user + nice + system + irq + soft) / TICKS


def _memory(pid: int) -> float:
    """KB that are this process's own."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(float(line.split()[1]) for line in rollup if line.startswith("Pss:"))


if __name__ == "__main__":
    sys.exit(main())
