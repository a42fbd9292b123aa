"""How we learn: each engine turns a spec and data into what a posterior is made of."""
