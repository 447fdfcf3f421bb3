"""The model that training starts from: made or read, its parts frozen or freed, its teacher beside it."""
