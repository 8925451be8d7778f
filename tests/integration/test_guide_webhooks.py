"""The commands of docs/guides/webhooks.md work as they stand there."""

import asyncio
import os
import re
import sys
from pathlib import Path

from tests.conftest import ROOT
from tests.support.one_machine import one_machine
from tests.support.webhook_receiver import WebhookReceiver

GUIDE = ROOT / "docs" / "guides" / "webhooks.md"


async def test_the_commands_of_the_guide(tmp_path: Path) -> None:
    commands = "\n".join(re.findall(r"^```sh\n(.*?)^```", GUIDE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE))
    assert commands.count("flowc subscriptions") >= 8
    async with WebhookReceiver() as receiver, one_machine(tmp_path) as platform:
        script = commands.replace("http://127.0.0.1:9099", receiver.url)
        (tmp_path / "bin").mkdir()
        flowc = tmp_path / "bin" / "flowc"
        flowc.write_text(f'#!/bin/sh\nexec {sys.executable} -m functions "$@"\n')
        flowc.chmod(0o755)
        path = f"{flowc.parent}:{os.environ['PATH']}"
        process = await asyncio.create_subprocess_exec(
            *("bash", "-euo", "pipefail", "-c", script),
            env={**os.environ, "FLOWC_URL": platform.url, "PATH": path},
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate()
    text = output.decode()
    assert process.returncode == 0, text
    assert {"subscription", "secret", "deleted"} <= set(text.split())
    assert "whsec_" in text
