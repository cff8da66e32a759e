"""What a skeleton is: layouts, clips, preparation and file formats. numpy only."""
