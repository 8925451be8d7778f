"""What a flow costs on AWS: the functions themselves, over services in memory that count what they are asked for.

The functions run as Lambda runs them, in virtual time. DynamoDB is a table in memory that takes the same requests and
counts capacity by the items they read and write, which is how AWS bills them; it understands what the adapter sends and
nothing else. A test holds it against an emulator. EventBridge and SQS only pass things on.
"""
