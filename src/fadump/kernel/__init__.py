"""Linux's side of FADump as a model: functions of what a kernel finds when it starts, without firmware or machine."""
