"""Who may speak to the gateway: users, their tokens and passphrases, in a file of the state directory."""
