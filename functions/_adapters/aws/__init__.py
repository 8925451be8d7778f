"""The services of AWS that Flow C uses beside DynamoDB, each over one client that is made when it is first needed."""
