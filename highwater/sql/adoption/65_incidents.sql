-- Incidents of a time before windows were limited to 1900 to 2999.
UPDATE ops.incidents AS i SET window_ranges = control.usual_windows(i.window_ranges)
WHERE i.window_ranges <> control.usual_windows(i.window_ranges);
