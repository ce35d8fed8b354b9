"""The report that a person hands in: one HTML file and its Markdown twin, from finished runs.

    runs         which run answers which question
    document     what a page is made of; the same for HTML and Markdown
    part_…       what is asked, the answer, the derivation, the figures, by part
    published    the published solution's figures, and ours beside them
    html, markdown    the two forms

Numbers come from the runs' metrics.json alone.
"""
