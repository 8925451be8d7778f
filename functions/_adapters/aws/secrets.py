"""Keys that lie in AWS Secrets Manager, each the whole text of a secret."""

from functions._adapters.aws.client import Client


async def secret(client: Client, name: str) -> str:
    """Return the text of a secret, by its name or ARN."""
    return str((await client.call("get_secret_value", {"SecretId": name}))["SecretString"])
