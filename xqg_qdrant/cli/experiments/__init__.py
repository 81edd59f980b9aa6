"""``xqg sweep`` and ``xqg compare``: the experiments, each one command."""
