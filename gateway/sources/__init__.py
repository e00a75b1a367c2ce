"""Between the drivers and the work units: values in, how often they are looked at, and writing out."""
