"""How names look: to the API, the inventory, the command line and the settings. The tables' CHECKs refuse none."""

# Becomes a file name, a TOML key and an argument of Vuls, hence so few, and no dash first: that would be a flag.
HOST = r"^[A-Za-z0-9_][A-Za-z0-9_-]{0,62}$"  # the executor's `ServerName` is the same
GROUP = r"^[A-Za-z0-9_-]{1,63}$"
USER = r"^[A-Za-z0-9._@-]{1,63}$"
ADDRESS = r"^[A-Za-z0-9.:_-]{1,253}$"  # a host name or an IP address
ZONE = r"^[a-z0-9][a-z0-9_]{0,30}$"  # a part of role, queue and key names
