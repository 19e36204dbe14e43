#!/usr/bin/env bash
# Like DevStack's, it ends with an error where nothing is there; that it ran stands in /srv/stand-in/starts.
echo unstack >>/srv/stand-in/starts
exit 1
