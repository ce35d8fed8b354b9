"""The report that a person hands in: one HTML file and its Markdown twin, from finished runs.

    runs         which run answers which question
    templates/   what is asked, the answer, the derivation, the figures: one Markdown file a part
    markdown     renders the templates to the twin; text of a run is escaped here
    html         renders the twin to the page
    claims       what the runs say of averaged weights
    published    the published solution's figures, and ours beside them

Numbers come from the runs' metrics.json alone.
"""
