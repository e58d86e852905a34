// The page of an analysis: tables and charts, nothing else.

setUpDownloads();
