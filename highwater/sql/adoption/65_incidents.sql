-- Of a time before records were held to usual windows.
UPDATE ops.incidents AS i SET window_ranges = control.usual_windows(i.window_ranges)
WHERE i.window_ranges <> control.usual_windows(i.window_ranges);
