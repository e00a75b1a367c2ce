"""How the gateway's words and amounts become the ERP's: settings that every connector has, and pure functions."""
