"""Admission: what its policies add to the CPU of W1, in one process, by turns; and what one flow's look at them takes.

The platform is that of one machine. A signal takes the gate out of its way, which is as if the code was not there.
"""

import asyncio
import os
import signal
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

from functions._adapters.sql.sqlite import SqliteStore
from functions._core.records.values import Priority, RiskBand
from functions._core.slo.admission import AdmissionPolicy, FlowFacts, verdict_of
from functions._core.slo.budget import Indicator, budget_of
from functions._core.slo.stored import ADMISSION_POLICIES, BudgetState, put_budget
from functions._engine.budget_gate import RememberedGate
from tests.benchmarks.bench_w1 import started
from tests.benchmarks.load import Stub, drive
from tests.benchmarks.measure import usage
from tests.support.processes import Platform, platform_process, processes
from tests.support.slo_history import NOW, ports_of, slo
from tests.support.slo_history import stored as put

FLOWS, IN_FLIGHT = 40, 16
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "30"))
"""How often each of the modes has its turn."""

MODES = {"removed": 0, "no policy": 0, "1 policy": 1, "20 policies": 20}
"""The policies of each mode; in the first one the gate is not asked."""

SWITCH = """
import signal
import functions._engine.budget_gate as module

class Switched(module.RememberedGate):
    off = False

    async def admission(self):
        return None if Switched.off else await super().admission()

def switch(off):
    Switched.off = off

module.RememberedGate = Switched
signal.signal(signal.SIGUSR1, lambda *_: switch(True))
signal.signal(signal.SIGUSR2, lambda *_: switch(False))
"""
"""Runs as the platform's process starts."""

SLOS, POLICIES = "/api/v1/slos", "/api/v1/admission-policies"


def policy_form(number: int, slo_id: str) -> dict[str, Any]:
    """Return a policy whose budget is healthy: one of its SLO, one of the service of the flow, by turns."""
    selector = {"slo_selector": {"slo_ids": [slo_id]}} if number % 2 == 0 else {}
    return {"action": "HOLD", "order": number, **selector}


async def with_slos(platform: Platform) -> Sequence[str]:
    """Make SLOs whose budgets are full; return their ids."""
    ids = []
    for number in range(max(MODES.values())):
        query = {"history": {"measure": "flow_success", "labels": {"service": f"service-{number}"}}}
        form = {"name": f"slo {number}", "service_name": f"service-{number}", "target": 0.9, "sli_query": query}
        status, made = await platform.call("POST", SLOS, form)
        assert status == 201, made
        ids.append(str(made["slo_id"]))
        status, budget = await platform.call("POST", f"/api/v1/budgets/{ids[-1]}/recalculate")
        assert (status, budget["status"]) == (200, "HEALTHY")
    return ids


async def set_mode(platform: Platform, pid: int, name: str, ids: Sequence[str], before: int) -> int:
    """Let the platform have so many policies in place of those `before`, and ask its gate or not."""
    os.kill(pid, signal.SIGUSR1 if name == "removed" else signal.SIGUSR2)
    for number in range(MODES[name], before):
        assert (await platform.call("DELETE", f"{POLICIES}/p-{number}"))[0] == 204
    for number in range(before, MODES[name]):
        status, made = await platform.call("PUT", f"{POLICIES}/p-{number}", policy_form(number, ids[number]))
        assert status in {200, 201}, made
    return MODES[name]


def spread(values: Sequence[float]) -> tuple[float, float, float]:
    """Return a median with its 95 % interval, by drawing again and again."""
    draw = Random(7)
    medians = sorted(statistics.median(draw.choices(values, k=len(values))) for _ in range(2000))
    return statistics.median(values), medians[50], medians[1949]


async def test_admission_and_w1(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(SWITCH)
    stub, costs = Stub(), {name: list[float]() for name in MODES}
    async with stub.serving():
        with processes() as all_processes:
            platform = platform_process(
                tmp_path, telemetry_url=f"{stub.url}/telemetry", log_level="warning", heartbeat_seconds=600
            )
            platform.environment = {**platform.environment, "PYTHONPATH": str(tmp_path)}
            all_processes.append(platform)
            pid = await started(platform, stub)
            ids, policies = await with_slos(platform), 0
            await drive(platform.url, stub, flows=100, in_flight=IN_FLIGHT)
            draw = Random(1)
            for _ in range(ROUNDS):
                for name in draw.sample(sorted(MODES), len(MODES)):
                    policies = await set_mode(platform, pid, name, ids, policies)
                    before = usage(pid).cpu_ms
                    await drive(platform.url, stub, flows=FLOWS, in_flight=IN_FLIGHT)
                    costs[name].append((usage(pid).cpu_ms - before) / FLOWS)
    print("\n| mode | CPU ms/flow | of that without the code | 95 % interval |\n| --- | --- | --- | --- |")
    for name, found in costs.items():
        ratio, low, high = spread([one / base for one, base in zip(found, costs["removed"], strict=True)])
        print(f"| {name} | {statistics.median(found):.1f} | {ratio:.3f} | {low:.3f} to {high:.3f} |")


async def test_one_look(tmp_path: Path) -> None:
    store = SqliteStore.open(tmp_path)
    ports, clock = ports_of(store.stores)
    facts = FlowFacts({"service": "service-1"}, RiskBand.MEDIUM, Priority.NORMAL)
    try:
        for number in range(20):
            one = slo(f"slo-{number}", service_name=f"service-{number}")
            await put(ports, one)
            budget = budget_of(one, NOW, "b", Indicator(1.0, 10), {})
            await put_budget(ports.key_values, BudgetState(budget=budget, told=True), 0)
        for policies in (1, 20):
            for number in range(policies):
                form = {**policy_form(number, f"slo-{number}"), "name": f"p-{number}"}
                policy = AdmissionPolicy.model_validate({**form, "created_at": NOW, "updated_at": NOW})
                await ADMISSION_POLICIES.put(ports.key_values, policy.name, policy)
            gate = RememberedGate(ports.key_values, clock)
            await gate.admission()
            begun = time.process_time()
            for _ in range(100):
                clock.move(10)
                await gate.admission()
            read, begun = (time.process_time() - begun) * 10, time.process_time()
            for _ in range(10_000):
                assert verdict_of(await gate.admission(), facts, NOW) is None
            look = (time.process_time() - begun) * 100
            print(f"\n{policies} policies, 20 SLOs: {look:.1f} µs a flow, and {read:.1f} ms each 10 s")
            await asyncio.sleep(0)
    finally:
        await store.close()
