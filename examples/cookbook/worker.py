"""The work of the cookbook's plans, so that they run without the systems that they are about.

Beside `flowc up`, in the folder of the project: `flowc worker --id cook --call examples.cookbook.worker:work`. The last
part of a task's id names the function that does it: that of `sync[2]/load-rows` is `load_rows`.
"""

import re
from collections import Counter
from typing import Any

LOOKS: Counter[str] = Counter()
"""How often the state of each job was looked at."""


class CardDeclinedError(Exception):
    """No other attempt could end in another way."""

    retryable = False


class NotReadyError(Exception):
    """Another attempt is made after the pause that the plan says."""


def read_metadata(image: str) -> Any:
    return {"image": image, "width": 1600, "height": 1200}


def make_thumbnail(image: str, width: int) -> Any:
    return f"{width}-{image}"


def find_labels(image: str) -> Any:  # noqa: ARG001 a stand-in finds the same in every image
    return ["dog", "beach"]


def write_catalogue(**entry: Any) -> Any:
    return {"catalogued": entry["image"], "thumbnail": entry["thumbnail"], "labels": len(entry["labels"])}


def check_expense(amount: int) -> Any:
    return {"amount": amount, "within_budget": amount <= 500}


def pay(amount: int) -> Any:
    return f"paid {amount}"


def book(trip: str) -> Any:
    return {"booking": f"{trip}-1"}


def charge_card(amount: int) -> Any:
    raise CardDeclinedError(f"the card does not cover {amount}")


def start_job(size: int) -> Any:
    return {"job": f"job-{size}"}


def job_state(job: str) -> Any:
    LOOKS[job] += 1
    if LOOKS[job] % 3:
        raise NotReadyError(f"{job} is running")
    return {"state": "done", "file": f"{job}.csv"}


def use_file(file: str) -> Any:
    return f"used {file}"


def list_tables(night: Any) -> Any:  # noqa: ARG001 a stand-in has the same tables each night
    return {"tables": ["customers", "orders", "returns"]}


def copy_table(table: str) -> Any:
    return {"table": table, "rows": len(table) * 100}


def check_rows(copied: list[Any]) -> Any:
    return {"rows": sum(one["rows"] for one in copied)}


def publish_report(rows: int) -> Any:
    return f"{rows} rows"


def deploy(version: str, share: int) -> Any:
    return f"{version} serves {share} %"


def measure_errors(version: str) -> Any:
    return {"error_rate": 0.2 if version.endswith("-broken") else 0.004}


def split_text(text: str) -> Any:
    return text.split(". ")


def count_words(part: str) -> Any:
    return Counter(re.findall(r"\w+", part.lower()))


def add_up(counts: list[dict[str, int]]) -> Any:
    return dict(sorted(sum(map(Counter, counts), Counter()).items()))


def ask_first_provider(city: str) -> Any:
    raise TimeoutError(f"no forecast for {city}")


def ask_second_provider(city: str) -> Any:
    return {"city": city, "degrees": 21}


def show_forecast(first: Any, second: Any) -> Any:
    return first or second


def take_order(number: int) -> Any:
    return {"number": number}


def ship(order: int, amount: int) -> Any:
    return f"order {order} shipped for {amount}"


def remind(order: int) -> Any:
    return f"order {order} reminded"


def list_customers() -> Any:
    return [{"name": "ada", "region": "eu"}, {"name": "bo", "region": "us"}]


def create_database(name: str, region: str) -> Any:
    return f"{region}/{name}"


def load_rows(database: str) -> Any:
    return {"database": database, "rows": 3}


def cancel(**booking: Any) -> Any:
    return {"cancelled": booking}


SAME = {"book_flight": book, "book_hotel": book, "deploy_canary": deploy, "promote": deploy, "roll_back": deploy}
"""Tasks of several names that are done by one function."""


def work(task: dict[str, Any]) -> Any:
    """Do a task; what comes back is its output."""
    if task["task_type"] == "COMPENSATE":
        return cancel(**task["parameters"])
    name = task["task_id"].rpartition("/")[2].partition("[")[0].replace("-", "_")
    return SAME.get(name, globals().get(name))(**task["parameters"])
