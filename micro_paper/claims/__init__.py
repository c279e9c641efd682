"""The paper's claims: what counts as evidence on each, and the rule that judges it."""
