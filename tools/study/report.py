def write_report(study_dir):
    return study_dir / "report.md"
