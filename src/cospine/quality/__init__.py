"""How good the data are: metrics, figures and the HTML report of one participant."""
