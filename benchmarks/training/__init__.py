"""How many tokens a second training takes in."""
