"""Access: the roles, and which of them may do what. Knows no user and no token."""
