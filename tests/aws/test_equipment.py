"""The AWS-shaped world itself: it delivers, loses, repeats and refuses as AWS does, seen with small functions."""

import asyncio
import base64
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from botocore.exceptions import BotoCoreError, ClientError

from tests.aws.deployment import Conditions, Deployment, deployed
from tests.aws.faults import Faults
from tests.aws.sqs import Again, failures
from tests.aws.stack import Cloud, client_of
from tests.aws.template import Template, TemplateError
from tests.aws.wire import EVENT_LIMIT, Call
from tests.support.cloudformation import parse
from tests.support.world import until

TEMPLATE = """
Parameters:
  Seen: {Type: String, Default: ""}
  Loud: {Type: String, Default: "no", AllowedValues: ["yes", "no"]}
Conditions:
  IsLoud: !Equals [!Ref Loud, "yes"]
Globals:
  Function: {Timeout: 2, Environment: {Variables: {SEEN: !Ref Seen, TABLE: !Ref Table, BUS: !Ref Bus}}}
Resources:
  Table:
    Type: AWS::DynamoDB::Table
    Properties:
      BillingMode: PAY_PER_REQUEST
      AttributeDefinitions: [{AttributeName: pk, AttributeType: S}]
      KeySchema: [{AttributeName: pk, KeyType: HASH}]
      PointInTimeRecoverySpecification: {PointInTimeRecoveryEnabled: true}
  Bus: {Type: AWS::Events::EventBus, Properties: {Name: !Sub "${AWS::StackName}-bus"}}
  Rule:
    Type: AWS::Events::Rule
    Properties:
      EventBusName: !Ref Bus
      EventPattern: {detail-type: [wanted, tick]}
      Targets:
        - {Id: Work, Arn: !GetAtt WorkQueue.Arn, DeadLetterConfig: {Arn: !GetAtt DeadQueue.Arn}}
  WorkQueue:
    Type: AWS::SQS::Queue
    Properties:
      VisibilityTimeout: 60
      RedrivePolicy: {deadLetterTargetArn: !GetAtt DeadQueue.Arn, maxReceiveCount: 3}
  DeadQueue:
    Type: AWS::SQS::Queue
    Properties:
      VisibilityTimeout: 60
      RedrivePolicy: {deadLetterTargetArn: !GetAtt LastQueue.Arn, maxReceiveCount: 2}
  LastQueue: {Type: AWS::SQS::Queue}
  Schedule:
    Type: AWS::Scheduler::Schedule
    Properties:
      ScheduleExpression: rate(1 minute)
      Target:
        Arn: !GetAtt Bus.Arn
        RoleArn: "arn:aws:iam::000000000000:role/any"
        EventBridgeParameters: {DetailType: tick, Source: /clock}
        Input: '{"id": "<aws.scheduler.execution-id>", "time": "<aws.scheduler.scheduled-time>"}'
  Loudspeaker: {Type: AWS::SQS::Queue, Condition: IsLoud}
  Work:
    Type: AWS::Serverless::Function
    Properties:
      Handler: toys.work
      Role: !GetAtt Role.Arn
      Environment: {Variables: {WHO: !Join ["-", [!Ref "AWS::Region", work]]}}
  WorkEvents:
    Type: AWS::Lambda::EventSourceMapping
    Properties:
      EventSourceArn: !GetAtt WorkQueue.Arn
      FunctionName: !Ref Work
      BatchSize: 5
      FunctionResponseTypes: [ReportBatchItemFailures]
  Dead: {Type: AWS::Serverless::Function, Properties: {Handler: toys.dead, Role: !GetAtt Role.Arn}}
  DeadEvents:
    Type: AWS::Lambda::EventSourceMapping
    Properties:
      EventSourceArn: !GetAtt DeadQueue.Arn
      FunctionName: !Ref Dead
      FunctionResponseTypes: [ReportBatchItemFailures]
  Role:
    Type: AWS::IAM::Role
    Properties:
      Policies:
        - PolicyName: role
          PolicyDocument:
            Statement:
              - {Effect: Allow, Action: ["dynamodb:PutItem"], Resource: !GetAtt Table.Arn}
              - {Effect: Allow, Action: "dynamodb:Query", Resource: !Sub "${Table.Arn}/index/one"}
              - {Effect: Allow, Action: "s3:GetObject", Resource: "arn:aws:s3:::bucket/claims/*"}
  Answer: {Type: AWS::Serverless::Function, Properties: {Handler: toys.answer, Role: !GetAtt Role.Arn}}
  HttpApi: {Type: AWS::ApiGatewayV2::Api, Properties: {ProtocolType: HTTP}}
  Integration:
    Type: AWS::ApiGatewayV2::Integration
    Properties:
      ApiId: !Ref HttpApi
      IntegrationType: AWS_PROXY
      IntegrationUri: !GetAtt Answer.Arn
      PayloadFormatVersion: "2.0"
  Route:
    Type: AWS::ApiGatewayV2::Route
    Properties: {ApiId: !Ref HttpApi, RouteKey: $default, Target: !Sub "integrations/${Integration}"}
  Named:
    Type: AWS::ApiGatewayV2::Route
    Properties: {ApiId: !Ref HttpApi, RouteKey: "GET /named/{one}", Target: !Sub "integrations/${Integration}"}
"""

TOYS = """
import base64, json, os, signal, time

def note(who, record):
    with open(os.environ["SEEN"], "a") as seen:
        times = int(record["attributes"]["ApproximateReceiveCount"])
        line = {"who": who, "body": record["body"], "times": times, "pid": os.getpid(), **record["attributes"]}
        seen.write(json.dumps(line) + "\\n")

def work(event, context):
    failed = []
    for record in event["Records"]:
        note("work", record)
        body = record["body"].partition(" ")[0]
        first = record["attributes"]["ApproximateReceiveCount"] == "1"
        if body == "fail" or (body == "once" and first):
            failed.append({"itemIdentifier": record["messageId"]})
        elif body == "raise" and first:
            raise ValueError("as asked")
        elif body == "die" and first:
            os.kill(os.getpid(), signal.SIGKILL)
        elif body == "nap":
            time.sleep(0.5)
        elif body == "sleep" and first:
            time.sleep(30)
        elif body == "nonsense" and first:
            failed.append({"itemIdentifier": "nobody"})
        elif body == "write":
            table().put_item(TableName=os.environ["TABLE"], Item={"pk": {"S": record["messageId"]}})
        elif body == "delete":
            table().delete_item(TableName=os.environ["TABLE"], Key={"pk": {"S": "any"}})
    return {"batchItemFailures": failed}

def table():
    from botocore.session import get_session
    return get_session().create_client("dynamodb")

def dead(event, context):
    for record in event["Records"]:
        note("dead", record)
    return {"batchItemFailures": [{"itemIdentifier": record["messageId"]} for record in event["Records"]]}

def answer(event, context):
    if event["rawPath"] == "/broken":
        raise ValueError("secret")
    if event["rawPath"] == "/plain":
        return {"just": "this"}
    return {
        "statusCode": 201,
        "headers": {"content-type": "application/octet-stream", "x-left": str(context.get_remaining_time_in_millis())},
        "cookies": ["a=1", "b=2"],
        "body": base64.b64encode(json.dumps(event).encode()).decode(),
        "isBase64Encoded": True,
    }
"""

Deploys = Callable[..., AbstractAsyncContextManager[Deployment]]


@pytest.fixture
def toys(tmp_path: Path, cloud: Cloud) -> Deploys:
    """Give `toys(**conditions)`: the small functions, deployed."""
    (tmp_path / "toys.py").write_text(TOYS)

    @asynccontextmanager
    async def deploys(**conditions: Any) -> AsyncIterator[Deployment]:
        under = Conditions(**{"speed": 60, "root": tmp_path, **conditions})
        told = {"Seen": str(tmp_path / "seen")}
        async with deployed(tmp_path, cloud, under, document=parse(TEMPLATE), parameters=told) as running:
            yield running

    return deploys


@pytest.fixture
def seen(tmp_path: Path) -> Callable[..., list[dict[str, Any]]]:
    """Give `seen(who)`: what a function was given, in order."""

    def read(who: str = "work") -> list[dict[str, Any]]:
        file = tmp_path / "seen"
        lines = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
        return [line for line in lines if line["who"] == who]

    return read


def times(lines: list[dict[str, Any]]) -> dict[str, int]:
    return dict(Counter(line["body"] for line in lines))


async def emptied(running: Deployment, *queues: str) -> None:
    async def empty() -> bool | None:
        depths = [await running.depth(queue) for queue in queues]
        await asyncio.sleep(0.05)
        return True if not any(depths) else None

    await until(empty, f"the end of what is in {queues}")


async def test_of_a_batch_only_what_failed_comes_again(toys: Deploys, seen: Callable[..., Any]) -> None:
    async with toys() as running:
        await asyncio.gather(*(running.send("WorkQueue", body) for body in ("good 1", "once", "good 2")))
        await emptied(running, "WorkQueue")
        assert times(seen()) == {"good 1": 1, "good 2": 1, "once": 2}
        assert running.functions["Work"].counts["errors"] == 0
        assert running.functions["Work"].counts["cold starts"] == 1


async def test_what_always_fails_goes_to_the_dead_letters_and_from_there_to_the_last_queue(
    toys: Deploys, seen: Callable[..., Any]
) -> None:
    async with toys() as running:
        await running.send("WorkQueue", "fail")
        await emptied(running, "WorkQueue", "DeadQueue")
        assert times(seen("work")) == {"fail": 3}
        assert times(seen("dead")) == {"fail": 2}
        assert seen("dead")[0]["DeadLetterQueueSourceArn"] == running.stack.made["WorkQueue"]["Arn"]
        assert await running.depth("LastQueue") == 1


@pytest.mark.parametrize("how", ["raise", "nonsense", "die", "sleep"])
async def test_a_batch_that_was_broken_off_comes_again_as_a_whole(
    toys: Deploys, seen: Callable[..., Any], how: str
) -> None:
    async with toys() as running:
        await running.send("WorkQueue", "nap")
        await until(lambda: _given(bool(seen())), "the nap, while the others gather")
        bodies = ["good 1", how, "good 2"]
        await asyncio.gather(*(running.send("WorkQueue", body) for body in bodies))
        await emptied(running, "WorkQueue")
        assert {line["body"] for line in seen() if line["times"] == 2} == set(bodies)
        work = running.functions["Work"]
        broken = how in {"die", "sleep"}
        assert work.counts["cold starts"] == (2 if broken else 1)
        kinds = {"raise": ["ValueError"], "die": ["Runtime.ExitError"], "sleep": ["Sandbox.Timedout"], "nonsense": []}
        assert [error["errorType"] for error in work.errors] == kinds[how]


def test_what_a_function_says_of_its_batch_is_read_as_lambda_reads_it() -> None:
    batch = {"a", "b"}
    one: Callable[[Any], dict[str, Any]] = lambda name: {"batchItemFailures": [{"itemIdentifier": name}]}  # noqa: E731
    assert set(failures(one("a"), batch)) == {"a"}
    every: Sequence[Any] = (None, {}, {"batchItemFailures": []}, {"batchItemFailures": None})
    for fine in every:
        assert not failures(fine, batch)
    nonsenses: Sequence[Any] = (
        one(""),
        one(None),
        one("c"),
        {"batchItemFailures": [{"id": "a"}]},
        {"batchItemFailures": "a"},
        [],
    )
    for nonsense in nonsenses:
        assert set(failures(nonsense, batch)) == batch


async def test_messages_come_twice_while_and_after_they_are_handled(toys: Deploys, seen: Callable[..., Any]) -> None:
    bodies = [f"good {n}" for n in range(20)]
    async with toys(again=Again(share=1, seed=3), at_once={"Work": 2}) as running:
        await asyncio.gather(*(running.send("WorkQueue", body) for body in bodies))
        await emptied(running, "WorkQueue")
        assert times(seen()) == dict.fromkeys(bodies, 2)
        assert running.conditions.again.delivered == 20
        assert len({line["pid"] for line in seen()}) == 2


async def test_rules_route_by_their_pattern_and_the_schedule_says_when_it_fired(
    toys: Deploys, seen: Callable[..., Any]
) -> None:
    async with toys() as running:
        await running.put("Bus", *({"source": "/me", "type": kind, "n": 1} for kind in ("wanted", "unwanted")))
        await running.fire()
        await until(lambda: _given(len(seen()) == 2), "two events")
        wanted, tick = sorted((json.loads(line["body"]) for line in seen()), key=lambda one: str(one["detail-type"]))[
            ::-1
        ]
        assert wanted["detail"] == {"source": "/me", "type": "wanted", "n": 1}
        assert (tick["source"], tick["detail-type"]) == ("/clock", "tick")
        assert tick["detail"]["time"].endswith("Z")
        assert len(tick["detail"]["id"]) == 36


async def _given(fact: bool) -> bool | None:
    return fact or None


async def test_requests_become_payloads_and_answers_responses(toys: Deploys) -> None:
    async with toys() as running, aiohttp.ClientSession() as client:
        url = f"{running.api.url}/a%20b/c?x=1&x=2&y="
        headers = {"content-type": "application/cloudevents+json", "cookie": "c=3; d=4", "X-Twice": "1"}
        async with client.post(url, data=b'{"a": 1}', headers=headers) as answer:
            assert answer.status == 201
            assert answer.headers.getall("set-cookie") == ["a=1", "b=2"]
            assert 0 < int(answer.headers["x-left"]) <= 2000
            event = json.loads(await answer.read())
        assert (event["version"], event["routeKey"], event["rawPath"]) == ("2.0", "$default", "/a b/c")
        assert event["queryStringParameters"] == {"x": "1,2", "y": ""}
        assert event["cookies"] == ["c=3", "d=4"]
        assert (event["headers"]["x-twice"], "cookie" in event["headers"]) == ("1", False)
        assert event["requestContext"]["http"]["method"] == "POST"
        assert event["isBase64Encoded"]
        assert base64.b64decode(event["body"]) == b'{"a": 1}'
        async with client.post(f"{running.api.url}/t", json={"a": 1}) as answer:
            event = json.loads(await answer.read())
            assert (event["body"], event["isBase64Encoded"]) == ('{"a": 1}', False)
        async with client.get(f"{running.api.url}/named/x") as answer:
            assert json.loads(await answer.read())["routeKey"] == "GET /named/{one}"
        async with client.get(f"{running.api.url}/plain") as answer:
            assert (answer.status, await answer.json()) == (200, {"just": "this"})
        async with client.get(f"{running.api.url}/broken") as answer:
            assert (answer.status, await answer.json()) == (500, {"message": "Internal Server Error"})
        async with client.post(running.api.url, data=BytesIO(b"x" * 7_000_000)) as answer:
            assert answer.status == 413


def code_of(error: ClientError) -> str:
    return str(error.response["Error"]["Code"])


@pytest.fixture
async def spoken(toys: Deploys) -> AsyncIterator[Callable[..., Any]]:
    """Give `spoken(service, operation, shares, **arguments)`: a call through the wire, with shares of faults."""
    faults = Faults(seed=5, on=False)
    async with toys(faults=faults) as running:
        clients = {name: client_of(running.wire.url, name) for name in ("dynamodb", "events", "sqs")}
        table = running.stack.made["Table"]["Ref"]

        async def speak(service: str, operation: str, shares: Mapping[str, float], **arguments: Any) -> Any:
            for name in ("conflict", "throttled", "partial", "lost"):
                setattr(faults, name, shares.get(name, 0.0))
            faults.on = True
            text = json.dumps(arguments).replace("TABLE", table).replace("BUS", running.stack.made["Bus"]["Ref"])
            return await asyncio.to_thread(getattr(clients[service], operation), **json.loads(text))

        yield speak
        for client in clients.values():
            client.close()


ITEMS = [{"pk": {"S": f"k{n}"}} for n in range(8)]


async def test_conflicts_and_throttling_are_said_as_dynamodb_says_them(spoken: Callable[..., Any]) -> None:
    puts = [{"Put": {"TableName": "TABLE", "Item": item}} for item in ITEMS]
    with pytest.raises(ClientError) as error:
        await spoken("dynamodb", "transact_write_items", {"conflict": 1}, TransactItems=puts)
    assert code_of(error.value) == "TransactionCanceledException"
    reasons = [reason["Code"] for reason in error.value.response["CancellationReasons"]]
    assert sorted(reasons) == ["None"] * 7 + ["TransactionConflict"]
    with pytest.raises(ClientError) as error:
        await spoken("dynamodb", "put_item", {"conflict": 1}, TableName="TABLE", Item=ITEMS[0])
    assert code_of(error.value) == "TransactionConflictException"
    codes = set()
    for _ in range(8):
        with pytest.raises(ClientError) as error:
            await spoken("dynamodb", "get_item", {"throttled": 1}, TableName="TABLE", Key=ITEMS[0])
        codes.add(code_of(error.value))
    assert codes == {"ProvisionedThroughputExceededException", "ThrottlingException"}
    assert (await spoken("dynamodb", "scan", {}, TableName="TABLE"))["Count"] == 0


async def test_batches_are_done_in_part_and_the_rest_is_named(spoken: Callable[..., Any]) -> None:
    written = 0
    left = {"TABLE": [{"PutRequest": {"Item": item}} for item in ITEMS]}
    while left:
        answer = await spoken("dynamodb", "batch_write_item", {"partial": 1}, RequestItems=left)
        written += 1
        left = answer["UnprocessedItems"]
    assert written > 1
    found: list[Any] = []
    wanted = {"TABLE": {"Keys": ITEMS, "ConsistentRead": True}}
    while wanted:
        answer = await spoken("dynamodb", "batch_get_item", {"partial": 1}, RequestItems=wanted)
        found += next(iter(answer["Responses"].values()))
        wanted = answer["UnprocessedKeys"]
        assert not wanted or next(iter(wanted.values()))["ConsistentRead"]
    assert sorted(item["pk"]["S"] for item in found) == [f"k{n}" for n in range(8)]
    entries = [{"EventBusName": "BUS", "Source": "s", "DetailType": "d", "Detail": "{}"} for _ in range(10)]
    answer = await spoken("events", "put_events", {"partial": 1}, Entries=entries)
    refused = [entry for entry in answer["Entries"] if entry.get("ErrorCode")]
    assert 0 < len(refused) == answer["FailedEntryCount"] < 10
    assert all(("EventId" in entry) != ("ErrorCode" in entry) for entry in answer["Entries"])


async def test_an_answer_is_lost_after_the_deed(spoken: Callable[..., Any]) -> None:
    with pytest.raises(BotoCoreError):
        await spoken("dynamodb", "put_item", {"lost": 1}, TableName="TABLE", Item=ITEMS[0])
    assert (await spoken("dynamodb", "scan", {}, TableName="TABLE"))["Count"] == 1


async def test_functions_die_around_their_writes_a_limited_number_of_times(
    toys: Deploys, seen: Callable[..., Any]
) -> None:
    faults = Faults(seed=1, crash=1, crashes=2)
    async with toys(faults=faults) as running:
        await running.send("WorkQueue", "write")
        await emptied(running, "WorkQueue")
        assert times(seen()) == {"write": 3}
        work = running.functions["Work"]
        assert [error["errorType"] for error in work.errors] == ["Runtime.ExitError"] * 2
        assert faults.killed == {work.configuration.name: 2}
        assert running.calls("Work") == {"dynamodb.PutItem": 3}


async def test_functions_may_do_what_their_roles_allow_and_nothing_else(toys: Deploys) -> None:
    async with toys() as running:
        await asyncio.gather(running.send("WorkQueue", "write"), running.send("WorkQueue", "delete"))
        await emptied(running, "WorkQueue", "DeadQueue")
        work = running.functions["Work"].configuration.name
        table = running.stack.made["Table"]["Arn"]
        assert set(running.rights.denied) == {(work, ("dynamodb:DeleteItem", table))}
        assert "AccessDeniedException" in running.functions["Work"].errors[0]["errorMessage"]
        allowed = {
            ("dynamodb.Query", '{"TableName": "T", "IndexName": "one"}', "/"): True,
            ("dynamodb.Query", '{"TableName": "T", "IndexName": "two"}', "/"): False,
            ("dynamodb.Query", '{"TableName": "T"}', "/"): False,
            ("dynamodb.TransactWriteItems", '{"TransactItems": [{"Put": {"TableName": "T"}}]}', "/"): True,
            ("dynamodb.TransactWriteItems", '{"TransactItems": [{"ConditionCheck": {"TableName": "T"}}]}', "/"): False,
            ("dynamodb.BatchWriteItem", '{"RequestItems": {"T": []}}', "/"): False,
            ("events.PutEvents", '{"Entries": [{"EventBusName": "any"}]}', "/"): False,
            ("s3.GetObject", "", "/bucket/claims/x?versionId=1"): True,
            ("s3.GetObject", "", "/bucket/other/x"): False,
            ("s3.PutObject", "", "/bucket/claims/x"): False,
            ("secretsmanager.GetSecretValue", '{"SecretId": "arn:aws:any"}', "/"): False,
            ("sqs.SendMessage", '{"QueueUrl": "http://any/0/q"}', "/"): False,
        }
        name = running.stack.made["Table"]["Ref"]
        for (what, arguments, path), may in allowed.items():
            call = Call(f"{work}.1", what, arguments.replace('"T"', f'"{name}"').encode(), path)
            assert (running.rights.refusal(work, call) is None) == may, what


async def test_what_the_emulator_would_take_and_aws_would_not_is_refused(spoken: Callable[..., Any]) -> None:
    entry = {"EventBusName": "BUS", "Source": "s", "DetailType": "d"}
    with pytest.raises(ClientError) as error:
        await spoken("events", "put_events", {}, Entries=[{**entry, "Detail": json.dumps("x" * EVENT_LIMIT)}])
    assert code_of(error.value) == "ValidationException"
    answer = await spoken("events", "put_events", {}, Entries=[{**entry, "Detail": '{"a": 1}'}])
    assert answer["FailedEntryCount"] == 0


async def test_sizes_are_noted(toys: Deploys) -> None:
    async with toys() as running:
        client = client_of(running.wire.url, "dynamodb")
        item = {"pk": {"S": "key"}, "list": {"L": [{"N": "12345"}, {"BOOL": True}]}, "data": {"B": b"x" * 999}}
        table = running.stack.made["Table"]["Ref"]
        await asyncio.to_thread(client.put_item, TableName=table, Item=item)
        client.close()
        assert running.wire.largest["item"] == await running.largest_item() == 1022


def test_a_template_is_followed_to_the_letter_or_not_at_all() -> None:
    def template(**parameters: str) -> Template:
        return Template(parse(TEMPLATE), "stack", {"Seen": "x", **parameters}, {"Bus": {"Arn": "the-arn"}}.__getitem__)

    assert "Loudspeaker" not in template().resources()
    assert "Loudspeaker" in template(Loud="yes").resources()
    assert template().resources("AWS::Events::EventBus")["Bus"]["Properties"] == {"Name": "stack-bus"}
    assert template().resolve("${Bus.Arn}:${!Bus}") == "the-arn:${Bus}"
    assert template().resolve([{"Fn::GetAtt": ["Bus", "Arn"]}, {"a": 1}]) == ["the-arn", {"a": 1}]
    with pytest.raises(AssertionError):
        template(Unheard="of")
    unknowns: Sequence[Any] = ({"Fn::Cidr": []}, {"Ref": "Nobody"}, "${Nobody}", {"Fn::GetAtt": ["Bus", "Colour"]})
    for unknown in unknowns:
        with pytest.raises(TemplateError):
            template().resolve(unknown)
