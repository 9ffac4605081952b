"""How names look: to the API, the inventory, the command line and the settings. The tables' CHECKs agree."""

HOST = r"^[A-Za-z0-9_-]{1,63}$"  # becomes a file name and a TOML key in Vuls, hence so few; groups are named alike
GROUP = HOST
USER = r"^[A-Za-z0-9._@-]{1,63}$"
ADDRESS = r"^[A-Za-z0-9.:_-]{1,253}$"  # a host name or an IP address
ZONE = r"^[a-z0-9][a-z0-9_]{0,30}$"  # a part of role, queue and key names
