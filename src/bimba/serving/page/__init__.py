"""A browser in, a page out on which people open a video, ask about it, and see which moments an answer rests on.

`page` puts together: `door` lets visitors in and closes what Gradio offers beyond this page; `visitors` knows them
again, and `pages` which of their pages are open; `routes` takes their files; `opening` says what a video is and comes
to (`planning`, and `example`), `previews` makes what a browser can play; `talks` remembers what each of them talks
about; `asking` follows an answer, with what is known of the model (`knowing`); `view` lays the page out, and is the
only one that needs Gradio. What browsers are sent lies in `parts`.
"""
