"""The chapters of a report page, each a function from stored results to a `Section`."""
