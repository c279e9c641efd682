"""Tables and figures as readers see them."""
