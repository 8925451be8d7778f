"""What flows teach: their history as data, and models that predict how long work takes."""
