"""What a gateway and its ERPs have to do with each other besides postings: orders, answers, reconciliation."""
