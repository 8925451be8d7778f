"""Secrets in AWS Secrets Manager, each the whole text of one."""

from functions._adapters.aws.client import Client
from functions._core.secrets import Secret


class AwsSecrets:
    """Secrets by name or ARN; implements `ports.Secrets`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def get(self, name: str) -> Secret:
        """Return the text of a secret."""
        answer = await self._client.call("get_secret_value", {"SecretId": name})
        return Secret(str(answer["SecretString"]), str(answer.get("VersionId", "")))
