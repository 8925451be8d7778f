"""The passport of a flow: what was done by whom, as one signed file that anybody can check without the platform."""
