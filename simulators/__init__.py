"""The bench: a simulated plant line and a simulated ERP. Nothing here imports the agent."""
