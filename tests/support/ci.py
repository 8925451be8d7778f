"""What tests of the executors for CI servers share: reports, settings, and a job that is run or fails."""

from typing import Any

import pytest

from functions._executors.settings import ExecutorSettings
from functions._worker.jobs import JobsExecutor
from functions._worker.tasks import TaskFailed
from tests.support.jobs import assigned

JUNIT = """<?xml version="1.0"?>
<testsuites><testsuite name="shop" tests="4" failures="1" errors="0" skipped="1">
<testcase classname="shop.Cart" name="adds"/><testcase classname="shop.Cart" name="pays"/>
<testcase classname="shop.Cart" name="ships"><failure message="late">at line 3</failure></testcase>
<testcase classname="shop.Cart" name="returns"><skipped/></testcase>
</testsuite></testsuites>
"""
GREEN = '<testsuite><testcase classname="a" name="one"/><testcase classname="a" name="two"/></testsuite>'
COVERAGE = '<?xml version="1.0"?><coverage line-rate="0.8" lines-covered="80" lines-valid="100"><packages/></coverage>'


def settings_for(name: str, url: str, token: str = "", **changes: Any) -> ExecutorSettings:
    """Return the settings of a worker whose CI server is at `url`."""
    environment = {f"WORKER_{name}_URL": url, f"WORKER_{name}_TOKEN": token, **changes.pop("environment", {})}
    given = {"poll_seconds": 0.05, "repositories": ["acme/**"], "networks": ["loopback"], "environment": environment}
    return ExecutorSettings.model_validate({**given, **changes})


async def run(jobs: JobsExecutor, parameters: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """Do a task of the type TEST and return its output."""
    output = await jobs.run(assigned(parameters, **{"task_type": "TEST", **changes}))
    assert isinstance(output, dict)
    return output


async def failure(jobs: JobsExecutor, parameters: dict[str, Any], **changes: Any) -> TaskFailed:
    """Do a task that fails, and return how."""
    with pytest.raises(TaskFailed) as failed:
        await run(jobs, parameters, **changes)
    return failed.value
